"""What the gateway's HTTPS API and its clients agree on: paths, scopes, bodies. The SDK is `concordat.client`."""
