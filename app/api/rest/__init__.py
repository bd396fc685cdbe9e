"""REST as upstream's gateway serves it, on FastAPI.

`router` has the routes, `route_tree` matches paths, `exchange` reads requests and sends replies.

Source: newHTTPServer of flyteadmin/pkg/server/service.go on grpc-gateway v2 and net/http.
"""
