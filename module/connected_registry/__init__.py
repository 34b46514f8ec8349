"""An edge replica of a container registry, shipped as an Azure IoT Edge module."""

__version__ = "0.1.0"
