"""OpenAI's image API: ``calls`` from what is sent to requests, ``api`` the routes."""
