"""Pages: server-rendered, htmx for fragments, plain forms without JavaScript."""
