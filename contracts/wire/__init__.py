"""The wire between the transport and its clients: frames, messages and bodies as frozen models."""
