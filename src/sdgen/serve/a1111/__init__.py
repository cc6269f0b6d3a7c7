"""AUTOMATIC1111's API: ``calls`` from what is sent to requests, ``api`` the routes."""
