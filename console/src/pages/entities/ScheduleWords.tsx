import { useEffect, useState } from "preact/hooks";
import { type CronTranslator, cronTranslator, inWords, needsTranslator } from "../../model/schedule.ts";

let loaded: CronTranslator | undefined;

/** Return the translator of cron expressions once it is loaded. */
function useTranslator(wanted: boolean): CronTranslator | undefined {
  const [translate, setTranslate] = useState(() => loaded);
  useEffect(() => {
    if (!wanted || translate) return undefined;
    let shown = true;
    cronTranslator().then(
      (found) => {
        loaded = found;
        if (shown) setTranslate(() => found);
      },
      // Without the file the expression itself is shown, which says the same.
      () => undefined,
    );
    return () => {
      shown = false;
    };
  }, [wanted, translate]);
  return translate;
}

/** A schedule's expression in words, with the zone of its times of day where that is known. */
export function ScheduleWords({ expression, zone }: { expression: string; zone: string }) {
  const translate = useTranslator(needsTranslator(expression));
  const words = inWords(expression, translate);
  const shown = needsTranslator(expression) ? zone.replace("Etc/", "") : "";
  return (
    <span title={shown ? `${expression} (${shown})` : expression}>
      {words}
      {shown && <span class="muted"> {shown}</span>}
    </span>
  );
}
