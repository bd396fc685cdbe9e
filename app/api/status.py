"""The HTTP status of each gRPC code.

Source: HTTPStatusFromCode of grpc-gateway v2.
"""

HTTP_BY_CODE = {
    0: 200,
    1: 499,
    2: 500,
    3: 400,
    4: 504,
    5: 404,
    6: 409,
    7: 403,
    8: 429,
    9: 400,
    10: 409,
    11: 400,
    12: 501,
    13: 500,
    14: 503,
    15: 500,
    16: 401,
}


def http_status(code: int) -> int:
    """Return the HTTP status of a gRPC code; 500 for a number that is no code."""
    return HTTP_BY_CODE.get(code, 500)
