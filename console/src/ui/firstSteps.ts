/** The commands with which a newcomer runs a first workflow on this server, as `make run` prints them. */
import { ROOT } from "../root.ts";
import type { Place } from "../routes.ts";

const HOME = "~/.flyteadmin";

/** Return three commands: run the example, read the execution, read its outputs. */
export function firstCommands({ project, domain }: Place): string[] {
  const { hostname, origin } = window.location;
  const isLocal = hostname === "localhost" || hostname === "127.0.0.1" || hostname === "[::1]";
  const client = isLocal
    ? `${HOME}/envs/default/bin/pyflyte --config ${HOME}/config.yaml`
    : `FLYTE_PLATFORM_URL=${window.location.host} pyflyte`;
  const web = `${origin}${ROOT}`;
  return [
    `${client} run --remote -p ${project} -d ${domain} examples/hello.py main --x 3`,
    `curl ${web}/api/v1/executions/${project}/${domain}/NAME`,
    `curl ${web}/api/v1/data/executions/${project}/${domain}/NAME`,
  ];
}
