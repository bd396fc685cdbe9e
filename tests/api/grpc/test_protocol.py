"""Frames, timeouts, metadata and trailers, without a server."""

from __future__ import annotations

import base64
import gzip
from urllib.parse import unquote_to_bytes

import pytest
from flyteidl.admin import event_pb2, execution_pb2
from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from hypothesis import example, given
from hypothesis import strategies as st

from app import errors
from app.api.grpc import protocol

pytestmark = pytest.mark.heavy

MIB = 1 << 20


def taken(body: bytes, encoding: bytes = b"identity", bytes_max: int = MIB) -> list[bytes]:
    """Every message of a body that arrived in one piece."""
    buffer, messages = bytearray(body), []
    while (message := protocol.take_message(buffer, encoding, bytes_max)) is not None:
        messages.append(message)
    assert not buffer
    return messages


class TestTake:
    @given(st.lists(st.binary(max_size=300), max_size=4), st.integers(1, 50))
    def test_messages_come_out_whatever_the_pieces_they_arrive_in(self, messages: list[bytes], piece: int) -> None:
        body = b"".join(map(protocol.frame, messages))
        buffer, found = bytearray(), []
        for start in range(0, len(body), piece):
            buffer += body[start : start + piece]
            while (message := protocol.take_message(buffer, b"identity", MIB)) is not None:
                found.append(message)
        assert found == messages
        assert not buffer

    @given(st.binary(max_size=5000))
    def test_a_gzip_message_is_decompressed(self, payload: bytes) -> None:
        packed = gzip.compress(payload)
        assert taken(b"\1" + len(packed).to_bytes(4, "big") + packed, b"gzip") == [payload]

    def test_the_limit_is_what_may_still_come_in(self) -> None:
        assert taken(protocol.frame(bytes(100)), bytes_max=100) == [bytes(100)]
        with pytest.raises(errors.ResourceExhausted, match=r"^grpc: received message larger than max \(101 vs. 100\)$"):
            taken(protocol.frame(bytes(101)), bytes_max=100)

    def test_the_limit_holds_for_what_is_packed_too(self) -> None:
        packed = gzip.compress(bytes(50 * MIB))
        assert len(packed) < MIB
        with pytest.raises(errors.ResourceExhausted, match=r"after decompression larger than max 1048576$"):
            taken(b"\1" + len(packed).to_bytes(4, "big") + packed, b"gzip")

    def test_a_large_message_is_refused_before_it_has_arrived(self) -> None:
        with pytest.raises(errors.ResourceExhausted):
            protocol.take_message(bytearray(b"\0\xff\xff\xff\xff"), b"identity", MIB)


class TestTimeout:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            (b"1H", 3600),
            (b"2M", 120),
            (b"3S", 3),
            (b"250m", 0.25),
            (b"5u", 5e-6),
            (b"7n", 7e-9),
            (b"0S", 0),
            (b"99999999H", 99999999 * 3600),
        ],
    )
    def test_the_units(self, value: bytes, seconds: float) -> None:
        assert protocol.timeout_seconds(value) == pytest.approx(seconds)

    @pytest.mark.parametrize(
        "value", [b"", b"S", b"12", b"1s", b"-1S", b"+1S", b"1.5S", b" 1S", b"123456789S", b"\xb2S"]
    )
    def test_anything_else_is_malformed(self, value: bytes) -> None:
        with pytest.raises(errors.Internal, match=r"^malformed grpc-timeout: "):
            protocol.timeout_seconds(value)


class TestTrailers:
    @given(st.text(max_size=6000), st.booleans())
    @example("é" * 4000, True)
    @example(" blanks at both ends ", False)
    @example("%41 stays %41", False)
    @example("line\nbreak\x00", True)
    def test_they_fit_a_client_and_carry_one_message(self, message: str, detailed: bool) -> None:
        detail = event_pb2.EventFailureReason()
        detail.already_in_terminal_state.current_phase = "SUCCEEDED"
        error = errors.FailedPrecondition(message, details=(detail,) if detailed else ())
        fields = dict(protocol.trailers(error))
        assert sum(len(name) + len(value) + 32 for name, value in fields.items()) < 8192
        assert fields[b"grpc-status"] == b"9"
        raw = fields.get(b"grpc-message", b"")
        assert all(0x20 <= byte < 0x7F for byte in raw)
        assert raw == raw.strip(b" ")
        sent = unquote_to_bytes(raw).decode()
        assert error.message.startswith(sent)
        if len(error.message) < 700:
            assert sent == error.message
        if detailed:
            encoded = fields[b"grpc-status-details-bin"]
            status = status_pb2.Status.FromString(base64.b64decode(encoded + b"=="))
            assert (status.code, status.message) == (9, sent)
            unpacked = event_pb2.EventFailureReason()
            assert status.details[0].Unpack(unpacked)
            assert unpacked == detail
        else:
            assert b"grpc-status-details-bin" not in fields

    def test_ascii_of_the_greatest_length_goes_uncut(self) -> None:
        message = "x" * errors.MESSAGE_BYTES_MAX
        assert dict(protocol.trailers(errors.Internal(message)))[b"grpc-message"] == message.encode()


class TestParsed:
    @given(st.binary(max_size=60))
    def test_any_bytes_are_a_message_or_an_error_of_the_client(self, payload: bytes) -> None:
        try:
            expected = execution_pb2.WorkflowExecutionGetRequest.FromString(payload)
        except DecodeError:
            with pytest.raises(errors.Internal, match=r"^grpc: error unmarshalling request: "):
                protocol.parse(execution_pb2.WorkflowExecutionGetRequest, payload)
        else:
            assert protocol.parse(execution_pb2.WorkflowExecutionGetRequest, payload) == expected
