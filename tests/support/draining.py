"""Clients that keep asking a server that stops, until it refuses a connection."""

from __future__ import annotations

import http.client

import grpc
from flyteidl.admin import project_pb2
from flyteidl.service import admin_pb2_grpc


def ask_by_http(client: http.client.HTTPConnection, lost: list[str], answered: list[int]) -> None:
    """Send requests over kept connections.

    Args:
        client: Connects again after each end of a connection.
        lost: Receives a text for each request without a reply.
        answered: Receives the status of each reply.
    """
    while True:
        try:
            client.connect()
        except ConnectionRefusedError:
            return
        except OSError as error:
            lost.append(f"connect: {error!r}")
            return
        try:
            while client.sock is not None:
                client.request("GET", "/api/v1/projects")
                reply = client.getresponse()
                reply.read()
                answered.append(reply.status)
        except (OSError, http.client.HTTPException) as error:
            lost.append(repr(error))
            return
        finally:
            client.close()


def ask_by_grpc(channel: grpc.Channel, lost: list[str], answered: list[int]) -> None:
    """Call RPCs on one channel. See `ask_by_http` for the arguments.

    grpcio sends a call again by itself where GOAWAY says that the server never served it.
    """
    with channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        while True:
            try:
                stub.ListProjects(project_pb2.ProjectListRequest(), timeout=10)
                answered.append(200)
            except grpc.RpcError as error:
                if "refused" not in error.details() and "failed to connect" not in error.details():
                    lost.append(f"{error.code()}: {error.details()}")
                return
