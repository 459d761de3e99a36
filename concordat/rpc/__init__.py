"""The one shell of every gRPC server and client: mTLS, authorisation, deadlines, limits, errors, health, spans."""
