"""Messages on the wire: JSON and protobuf to messages and back, and protobuf as text."""
