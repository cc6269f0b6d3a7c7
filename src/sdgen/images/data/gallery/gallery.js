
"use strict";
{
  const PAGE = 120; // Cards that are added at a time, so that thousands of images open at once.
  const byId = (id) => document.getElementById(id);
  const items = JSON.parse(byId("items").textContent);
  const controls = ["query", "model", "sampler", "seed", "order"].map(byId);
  const collator = new Intl.Collator("en", { numeric: true });
  const orders = {
    name: (a, b) => collator.compare(a.name, b.name),
    new: (a, b) => b.created.localeCompare(a.created) || collator.compare(b.name, a.name),
    old: (a, b) => a.created.localeCompare(b.created) || collator.compare(a.name, b.name),
    seed: (a, b) => collator.compare(a.seed ?? "", b.seed ?? "") || collator.compare(a.name, b.name),
  };
  let found = []; // The items that fit, in order.
  let shown = 0; // How many of them have a card.
  let current = null; // The item in the viewer.

  const fold = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  for (const item of items) {
    item.text = fold([item.name, item.prompt, ...item.fields.map(([name, value]) => `${name} ${value}`)].join("\n"));
  }

  function element(name, text, kind) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }

  function offer(id, values) {
    const distinct = [...new Set(values.filter((value) => value != null))].sort(collator.compare);
    for (const value of distinct.slice(0, 500)) {
      const option = element("option", id === "seeds" ? undefined : value);
      option.value = value;
      byId(id).append(option);
    }
  }

  // The state is in the address after #, so that a view can be kept as a bookmark.
  function readAddress() {
    const state = new URLSearchParams(location.hash.slice(1));
    for (const control of controls) {
      control.value = state.get(control.id) ?? (control.id === "order" ? "name" : "");
      if (control.selectedIndex === -1) control.selectedIndex = 0;
    }
    list();
    const named = items.find((item) => item.name === state.get("image"));
    if (named) open(named);
    else if (byId("viewer").open) byId("viewer").close();
  }

  function writeAddress() {
    const state = new URLSearchParams();
    for (const control of controls) {
      const value = control.value.trim();
      if (value && !(control.id === "order" && value === "name")) state.set(control.id, value);
    }
    if (current) state.set("image", current.name);
    const hash = state.toString();
    history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  }

  function list() {
    const [query, model, sampler, seed, order] = controls.map((control) => control.value.trim());
    const words = fold(query).split(/\s+/).filter(Boolean);
    found = items.filter((item) =>
      words.every((word) => item.text.includes(word)) &&
      (!model || item.model === model) &&
      (!sampler || item.sampler === sampler) &&
      (!seed || item.seed === seed));
    found.sort(orders[order] ?? orders.name);
    byId("images").replaceChildren();
    shown = 0;
    more();
    byId("none").hidden = found.length > 0;
    const images = items.length === 1 ? "image" : "images";
    byId("count").textContent =
      found.length === items.length ? `${items.length} ${images}` : `${found.length} of ${items.length} ${images}`;
  }

  function more() {
    const cards = document.createDocumentFragment();
    for (const item of found.slice(shown, shown + PAGE)) {
      const card = element("button", undefined, "card");
      card.type = "button";
      card.dataset.name = item.name;
      const image = element("img");
      image.src = `data:image/webp;base64,${item.thumbnail}`;
      image.alt = "";
      image.decoding = "async";
      const about = [item.seed == null ? "" : `seed ${item.seed}`, item.sampler, item.model];
      card.append(
        image,
        element("span", item.prompt || item.name, "text"),
        element("span", about.filter(Boolean).join(" · "), "about"),
      );
      card.addEventListener("click", () => { open(item); writeAddress(); });
      const entry = element("li");
      entry.append(card);
      cards.append(entry);
    }
    shown = Math.min(shown + PAGE, found.length);
    byId("images").append(cards);
  }

  function open(item) {
    current = item;
    const place = found.indexOf(item);
    byId("viewer-name").textContent = `${item.name} (${item.width} × ${item.height})`;
    byId("picture").src = item.link;
    byId("picture").width = item.width;
    byId("picture").height = item.height;
    byId("picture").alt = item.prompt || item.name;
    byId("full").href = item.link;
    byId("prompt").textContent = item.prompt;
    byId("before").hidden = !item.before;
    if (item.before) byId("before-picture").src = `data:image/webp;base64,${item.before}`;
    byId("fields").replaceChildren(
      ...item.fields.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
    byId("again").hidden = !item.command;
    byId("command").textContent = item.command;
    byId("copied").textContent = "";
    byId("previous").disabled = place <= 0;
    byId("next").disabled = place === -1 || place === found.length - 1;
    if (!byId("viewer").open) byId("viewer").showModal();
  }

  function step(by) {
    const next = found[found.indexOf(current) + by];
    if (current && next) {
      open(next);
      writeAddress();
    }
  }

  async function copy() {
    const text = byId("command").textContent;
    let done = false;
    try {
      await navigator.clipboard.writeText(text);
      done = true;
    } catch {
      // Browsers that give a page from a file no clipboard still copy what is selected.
      getSelection().selectAllChildren(byId("command"));
      done = document.execCommand("copy");
    }
    byId("copied").textContent = done ? "Copied" : "Select the command and copy it";
  }

  byId("viewer").addEventListener("close", () => {
    const name = current?.name;
    current = null;
    writeAddress();
    document.querySelector(`[data-name="${CSS.escape(name ?? "")}"]`)?.focus();
  });
  byId("viewer").addEventListener("click", (event) => {
    if (event.target === byId("viewer")) byId("viewer").close();
  });
  byId("close").addEventListener("click", () => byId("viewer").close());
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("copy").addEventListener("click", copy);
  byId("all").addEventListener("click", () => document.forms[0].reset());
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input, select") || event.ctrlKey || event.metaKey || event.altKey;
    if (byId("viewer").open) {
      if (event.key === "ArrowLeft") step(-1);
      if (event.key === "ArrowRight") step(1);
    } else if (event.key === "/" && !typing) {
      event.preventDefault();
      byId("query").focus();
    }
  });
  document.forms[0].addEventListener("submit", (event) => event.preventDefault());
  document.forms[0].addEventListener("input", () => { list(); writeAddress(); });
  // The fields are empty only after the event.
  document.forms[0].addEventListener("reset", () => setTimeout(() => { list(); writeAddress(); }));
  addEventListener("hashchange", readAddress);
  new IntersectionObserver((seen) => {
    if (seen.some((entry) => entry.isIntersecting) && shown < found.length) more();
  }, { rootMargin: "800px" }).observe(byId("end"));

  offer("model", items.map((item) => item.model));
  offer("sampler", items.map((item) => item.sampler));
  offer("seeds", items.map((item) => item.seed));
  readAddress();
}
