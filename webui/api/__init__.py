"""The HTTP API: what programs may ask of the app. Each module is one group of paths."""

from fastapi import APIRouter

from webui.api.attachments import AttachmentsApi
from webui.api.chats import ChatsApi
from webui.api.embeddings import EmbeddingsApi
from webui.api.manage import ManageApi
from webui.api.messages import MessagesApi
from webui.api.metrics import MetricsApi
from webui.api.models import ModelsApi
from webui.api.openai import OpenAIApi
from webui.api.system import SystemApi
from webui.api.transfer import TransferApi
from webui.services import Services


def create_router(services: Services) -> APIRouter:
    """Collect every path; `services` need not be started before the first request."""
    router = APIRouter()
    groups = (
        SystemApi,
        MetricsApi,
        ModelsApi,
        TransferApi,
        ChatsApi,
        ManageApi,
        MessagesApi,
        AttachmentsApi,
        OpenAIApi,
        EmbeddingsApi,
    )
    for api in [group(services) for group in groups]:
        router.include_router(api.router())
    return router
