/** Rows of a stored table. */

interface Props {
  head: string[];
  rows: string[][];
  note: string;
}

export function DataTable({ head, rows, note }: Props) {
  return (
    <>
      {/* The box takes the focus, so that it is scrolled by keys. */}
      <section class="data-table" tabIndex={0} aria-label="Rows of the table">
        <table>
          <thead>
            <tr>
              {head.map((name, index) => (
                <th key={index} scope="col">
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map((row, index) => (
              <tr key={index}>
                {head.map((_, column) => (
                  <td key={column}>{row[column] ?? ""}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </section>
      {note && <p class="muted small">{note}</p>}
    </>
  );
}
