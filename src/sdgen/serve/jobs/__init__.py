"""sdgen's own API, of jobs: ``calls`` from what is sent to requests, ``folder`` on disk, ``api`` routes."""
