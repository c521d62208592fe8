"""Workers and clients for the workflow orchestrator.

from workersdk import Worker

worker = Worker()
worker.register("step1", lambda payload: f"Processed: {payload}")
worker.start("http://127.0.0.1:8080")
"""

from __future__ import annotations

from workersdk.client import AsyncClient, Client
from workersdk.errors import (
    ApiError,
    ConflictError,
    ConnectionFailedError,
    InvalidUrlError,
    NonRetryableError,
    NotFoundError,
    RegistrationError,
    RetryLater,
    RunFailedError,
    SettingError,
    UnsupportedTransportError,
    WaitTimeoutError,
    WorkflowError,
)
from workersdk.handlers import Context
from workersdk.models import Attempt, DeadLetter, ErrorInfo, Event, Run, Step, StepResult, WorkerInfo, Workflow
from workersdk.version import __version__
from workersdk.worker import Worker

__all__ = [
    "ApiError",
    "AsyncClient",
    "Attempt",
    "Client",
    "ConflictError",
    "ConnectionFailedError",
    "Context",
    "DeadLetter",
    "ErrorInfo",
    "Event",
    "InvalidUrlError",
    "NonRetryableError",
    "NotFoundError",
    "RegistrationError",
    "RetryLater",
    "Run",
    "RunFailedError",
    "SettingError",
    "Step",
    "StepResult",
    "UnsupportedTransportError",
    "WaitTimeoutError",
    "Worker",
    "WorkerInfo",
    "Workflow",
    "WorkflowError",
    "__version__",
]
