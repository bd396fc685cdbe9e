import { useState } from "preact/hooks";
import { removeView, type SavedView, saveView, viewsOf } from "../../frame/views.ts";
import { navigate } from "../../location.ts";
import { links, type Place } from "../../routes.ts";
import { toast } from "../../ui/announce.ts";
import { Dialog } from "../../ui/Dialog.tsx";
import { Field } from "../../ui/Fields.tsx";
import { Icon } from "../../ui/Icon.tsx";
import { Menu, type MenuItem } from "../../ui/Menu.tsx";

const NAME_MAX = 60;

/** The saved views of a place, and buttons to save and to forget one. */
export function Views({ place, q }: { place: Place; q: string }) {
  const [saving, setSaving] = useState(false);
  const [name, setName] = useState("");
  const saved = viewsOf(place);
  const current = saved.find((view) => view.q === q);
  const forget = (view: SavedView) => {
    removeView(view);
    toast(`The view ${view.name} is removed.`, { action: { label: "Undo", run: () => saveView(view) } });
  };
  const items = (): MenuItem[] => [
    ...saved.map((view) => ({
      key: view.name,
      label: view.name,
      checked: view === current,
      onSelect: () => navigate(links.executions(place, { q: view.q })),
    })),
    {
      label: "Save these filters…",
      separated: saved.length > 0,
      onSelect: () => setSaving(true),
      reason: q === "" ? "there are no filters" : undefined,
    },
    ...(current ? [{ label: `Remove “${current.name}”`, onSelect: () => forget(current) }] : []),
  ];
  const save = () => {
    if (name.trim() === "") return;
    saveView({ ...place, name: name.trim(), q });
    setSaving(false);
    setName("");
  };
  return (
    <>
      <Menu
        label="Saved views"
        class="button"
        button={
          <>
            <Icon name="star" /> {current?.name ?? "Views"} <Icon name="chevron-down" size={12} />
          </>
        }
        items={items}
      />
      {saving && (
        <Dialog
          title="Save these filters as a view"
          size="narrow"
          onClose={() => setSaving(false)}
          onSubmit={save}
          footer={
            <button type="submit" class="button primary" disabled={name.trim() === ""}>
              Save
            </button>
          }
        >
          <Field label="Name" required hint={q}>
            {(attributes) => (
              <input
                class="input"
                {...attributes}
                maxLength={NAME_MAX}
                value={name}
                onInput={(event) => setName(event.currentTarget.value)}
              />
            )}
          </Field>
        </Dialog>
      )}
    </>
  );
}
