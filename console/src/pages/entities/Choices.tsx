/** The buttons of a dialog that asks. */
export function Choices({ onClose, action, running }: { onClose: () => void; action: string; running: boolean }) {
  return (
    <>
      <button type="button" class="button" onClick={onClose}>
        Cancel
      </button>
      <button type="submit" class="button primary" disabled={running}>
        {action}
      </button>
    </>
  );
}
