"""Every load and sampling parameter, declared once; form, command line, API and docs are drawn from here."""

from inference.declare import Kind, Setting, describe
from inference.load_settings import KVType, LoadSettings
from inference.sampling_settings import SamplerName, SamplingSettings

__all__ = ['KVType', 'Kind', 'LoadSettings', 'SamplerName', 'SamplingSettings', 'Setting', 'describe']
