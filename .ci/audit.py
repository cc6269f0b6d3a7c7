"""Ask PyPI's advisories, by pip-audit, about every package that is installed; fails where one is known.

Where the advisories cannot be asked, as behind a mirror that has packages alone, it says so and passes.
"""

from __future__ import annotations

import json
import subprocess
import sys

COMMAND = [
    sys.executable,
    "-m",
    "pip_audit",
    "--skip-editable",
    "--progress-spinner",
    "off",
    "--format",
    "json",
]
SECONDS = 300

try:
    asked = subprocess.run(COMMAND, capture_output=True, text=True, timeout=SECONDS)
    packages = json.loads(asked.stdout)["dependencies"]
except (subprocess.TimeoutExpired, ValueError, KeyError):
    print("pip-audit could not ask for advisories: nothing is known of the packages", file=sys.stderr)
    sys.exit(0)
audited = [package for package in packages if "vulns" in package]
findings = [(package, advisory) for package in audited for advisory in package["vulns"]]
for package, advisory in findings:
    mended = ", ".join(advisory["fix_versions"]) or "no version yet"
    print(f"{package['name']} {package['version']}: {advisory['id']}, mended in {mended}", file=sys.stderr)
left = len(packages) - len(audited)
print(f"pip-audit: {len(audited)} packages audited, {left} without an answer, {len(findings)} advisories")
sys.exit(1 if findings else 0)
