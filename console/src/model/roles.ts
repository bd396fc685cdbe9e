// Roles of a caller, as GET /api/v1/roles/mine reports them. No DOM.

/** The roles in their order: each includes the ones before it. */
export const ROLES = ["view", "run", "register", "admin"] as const;
export type Role = (typeof ROLES)[number];

/** A role in a place; project and domain are a name, the start of names with `*` behind it, or `*`. */
export interface Grant {
  readonly role: string;
  readonly project: string;
  readonly domain: string;
}

/** Where a role is needed. `*` is every project or domain, a domain of null any one domain of the project. */
export interface NeedPlace {
  readonly project: string;
  readonly domain: string | null;
}

/** Return whether a pattern matches a name. The name `*` is matched by the pattern `*` alone. */
function matches(pattern: string, name: string): boolean {
  return pattern.endsWith("*") && name !== "*" ? name.startsWith(pattern.slice(0, -1)) : pattern === name;
}

/** Return whether grants include a role in a place. A role of a newer server, which this list lacks, includes none. */
export function allows(grants: readonly Grant[], role: Role, { project, domain }: NeedPlace): boolean {
  return grants.some(
    (grant) =>
      ROLES.indexOf(grant.role as Role) >= ROLES.indexOf(role) &&
      matches(grant.project, project) &&
      (domain === null || matches(grant.domain, domain)),
  );
}

/** Return why a role is missing, as a sentence for people. */
export function refusalText(role: Role, { project, domain }: NeedPlace): string {
  const where =
    project === "*"
      ? "all projects"
      : domain === "*"
        ? `all domains of ${project}`
        : domain === null
          ? project
          : `${project} / ${domain}`;
  return `You need the role "${role}" in ${where}. Ask an administrator of this server for it.`;
}
