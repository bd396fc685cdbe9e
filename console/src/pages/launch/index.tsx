import { navigate, query, setQuery } from "../../location.ts";
import { links, type PageProps } from "../../routes.ts";
import { Launcher } from "./Launcher.tsx";

/** `…/workflows/NAME/launch?version=&lp=&from=EXECUTION` */
export default function LaunchPage({ kind, project, domain, name }: PageProps<"launch">) {
  const place = { project, domain };
  const from = query.value.get("from") ?? undefined;
  return (
    <div class="launch-page">
      <h1>
        {from ? "Relaunch" : "Launch"} <a href={links.entity(kind, place, name)}>{name}</a>
      </h1>
      <Launcher
        kind={kind}
        project={project}
        domain={domain}
        name={name}
        version={query.value.get("version") ?? undefined}
        plan={query.value.get("lp") ?? undefined}
        from={from}
        onChoice={({ version, plan, from }) => setQuery({ version, lp: plan, from })}
        onLaunched={(launched) => navigate(links.execution(place, launched))}
      />
    </div>
  );
}
