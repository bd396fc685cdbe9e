/** The launch form over another page. */

import { navigate } from "../../location.ts";
import { links } from "../../routes.ts";
import { Dialog } from "../../ui/Dialog.tsx";
import { Launcher, type LaunchProps } from "./Launcher.tsx";

interface Props extends Omit<LaunchProps, "onLaunched" | "onCancel" | "onChoice"> {
  onClose: () => void;
  /** Called with the name of the new execution; without it, the execution is opened. */
  onLaunched?: (name: string) => void;
}

export function LaunchDialog({ onClose, onLaunched, ...props }: Props) {
  const { kind, project, domain, name, version, plan, from } = props;
  const address = links.launch(kind, props, name, { version, lp: plan, from });
  return (
    <Dialog
      title={
        <>
          {from ? "Relaunch" : "Launch"} {name}{" "}
          <a class="small" href={address} title="Open the form as a page of its own">
            as a page
          </a>
        </>
      }
      onClose={onClose}
      // What was typed is kept as a draft, but a click beside the dialog would surprise.
      dismissible={false}
    >
      <Launcher
        {...props}
        onCancel={onClose}
        onLaunched={
          onLaunched ??
          ((launched) => {
            onClose();
            navigate(links.execution({ project, domain }, launched));
          })
        }
      />
    </Dialog>
  );
}
