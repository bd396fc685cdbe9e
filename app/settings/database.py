"""Section `database`: which database, how many connections.

Source: flytestdlib/database at v1.16.8.
"""

import os
import re
from pathlib import Path
from urllib.parse import quote

from pydantic import Field, SecretStr

from app.settings.values import BadSetting, Port, Seconds, Section


class Postgres(Section):
    """The address of a PostgreSQL in parts. Defaults are upstream's; the section counts when a key of it is given."""

    host: str = "localhost"
    """Name or address of the server."""

    read_replica_host: str = "localhost"
    """Name or address of a read replica."""

    port: Port = 30001
    """Port of the server."""

    dbname: str = "postgres"
    """Name of the database."""

    username: str = "postgres"
    """Name of the user."""

    password: SecretStr = SecretStr("postgres")
    """Password of the user. Shown masked."""

    password_path: str = ""
    """Path of a file that holds the password; wins over `password`."""

    options: str = "sslmode=disable"
    """Options of libpq as `key=value` pairs; values with spaces in single quotes."""

    debug: bool = False
    """Log each statement. Here `logger.level: debug` does."""

    def url(self) -> str:
        """Return the address as postgresql://…, with the password.

        Raises:
            BadSetting: The file `password_path` cannot be read, or `options` has another form.
        """
        password = self.password.get_secret_value()
        if self.password_path:
            try:
                password = Path(self.password_path).read_text().strip()
            except OSError as error:
                raise BadSetting(
                    f"database.postgres.passwordPath={self.password_path} cannot be read: {error.strerror}"
                ) from error
        user = quote(self.username, safe="") + (f":{quote(password, safe='')}" if password else "")
        query = _query(self.options)
        address = f"postgresql://{user}@{self.host}:{self.port}/{quote(self.dbname, safe='')}"
        return f"{address}?{query}" if query else address


class Sqlite(Section):
    """A SQLite file."""

    file: str = ""
    """Path of the file; empty means `flyteadmin.db` in the home folder."""


class DatabaseSection(Section):
    """The database: `url`, else `postgres`, else `sqlite`."""

    url: SecretStr = SecretStr("")
    """Address of the database: `postgresql://user:password@host:port/name` or `sqlite:////absolute/path`. The password
    is shown masked. Not upstream's."""

    postgres: Postgres | None = None
    sqlite: Sqlite = Sqlite()

    max_idle_connections: int = Field(default=10, ge=0)
    """Largest number of unused connections that stay open."""

    max_open_connections: int = Field(default=20, ge=1)
    """Largest number of connections to PostgreSQL, of all workers together; each worker may take two at least, and
    one more that listens to other processes. The default is 100 with a configuration file."""

    conn_max_life_time_seconds: Seconds = 3600.0
    """Age at which a connection is replaced, as a duration."""

    enable_foreign_key_constraint_when_migrating: bool = False
    """Create foreign keys in migrations."""

    def address(self, home: Path) -> str:
        """Return sqlite:///absolute/path or postgresql://…, which holds the password, so it is never printed.

        Args:
            home: The home folder, as an absolute path.

        Raises:
            BadSetting: The address has another form, or `postgres.password_path` cannot be read.
        """
        given = self.url.get_secret_value()
        if given:
            return _database(given)
        if self.postgres is not None:
            return self.postgres.url()
        file = self.sqlite.file
        return f"sqlite:///{Path(file).expanduser().absolute() if file else home / 'flyteadmin.db'}"


def _database(url: str) -> str:
    """Return a database URL with the scheme postgresql or sqlite. Raises BadSetting for other forms."""
    scheme, _, rest = url.partition("://")
    if scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        _check_postgres(rest)
        return f"postgresql://{rest}"
    if scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        return f"sqlite:///{os.path.abspath('/' + rest.lstrip('/'))}"
    # The URL may hold a password; in a malformed URL the text before :// may be a part of it.
    begins = f"{scheme}://…" if re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]{0,30}", scheme) and rest else "…"
    raise BadSetting(
        f"database.url={begins} (FLYTEADMIN_DATABASE_URL) is not usable; allowed: "
        "postgresql://user:password@host:port/name or sqlite:////absolute/path"
    )


_option = re.compile(r"\s*(\w+)\s*=\s*('(?:[^'\\]|\\.)*+'|[^\s']*+)(?=\s|\Z)")


def _query(options: str) -> str:
    """Return libpq's key=value pairs, as in "sslmode=disable connect_timeout=5", as the query of a URL."""
    pairs, place = [], 0
    while options[place:].strip():
        found = _option.match(options, place)
        if found is None:
            # The options may hold a password, so they are not shown.
            raise BadSetting(
                "database.postgres.options is not usable; allowed: pairs such as sslmode=disable connect_timeout=5, "
                "values with spaces in single quotes"
            )
        value = re.sub(r"\\(.)", r"\1", found[2][1:-1]) if found[2].startswith("'") else found[2]
        pairs.append(f"{found[1]}={quote(value, safe='/:,')}")
        place = found.end()
    return "&".join(pairs)


def _check_postgres(rest: str) -> None:
    """Raise BadSetting for an address that drivers parse differently; the message does not show its password.

    Args:
        rest: The address behind ://.
    """
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    path = rest[len(authority) :].partition("?")[0]
    hosts = authority.rpartition("@")[2]
    ports = [match[1] for match in re.finditer(r"(?:^|,)(?:\[[^\]]*\]|[^,:\[\]]*):([^,]*)", hosts)]
    wrong = ""
    if authority.count("@") > 1 or "@" in path or "#" in rest:
        wrong = "it has more than one @, or a / or # before it"
    elif any(not port.isascii() or not port.isdigit() or int(port) > 65535 for port in ports if port):
        wrong = "its port is no number from 1 to 65535"
    elif re.search(r"[\s\x00-\x1f]", authority):
        wrong = "it has a space"
    if wrong:
        raise BadSetting(
            f"database.url=postgresql://… (FLYTEADMIN_DATABASE_URL) is not usable: {wrong}. In user and password write "
            "@ as %40, / as %2F, : as %3A, # as %23, ? as %3F, % as %25, a space as %20"
        )
