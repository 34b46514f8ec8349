"""A local IoT Hub for people and tests without Azure.

`hub.LocalHub` starts all of it: an MQTT endpoint over TLS that modules talk to, the workload API
that IoT Edge offers on a Unix socket, and IoT Hub's REST paths for the cloud side. It is not
edgeHub: there is no routing, no store-and-forward, no cloud behind it, and any process may use the
workload socket.
"""
