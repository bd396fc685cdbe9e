"""The project and domain to which an object of the storage belongs, by its location.

    metadata/<project>/<domain>/…              inputs and offloaded data of executions
    metadata/propeller/<project>/<domain>/…    inputs and outputs of tasks
    metadata/catalog/<project>/<domain>/…      outputs that clients of DataCatalog cached
    raw/<project>/<domain>/…                   files and tables of tasks
    <flyteadmin.metadataStoragePrefix>/<project>/<domain>/…   compiled workflows
    <server.dataProxy.upload.storagePrefix>/<project>/<domain>/…   uploads

A project may have the name of a folder above, so a location can have several readings. Those whose domain is
configured count, and a caller needs the role in each place that they name. A location without such a reading belongs
to no project: it needs the role everywhere.
"""

from __future__ import annotations

from urllib.parse import unquote

from app.blobs import Blobs
from app.blobs.object_names import component
from app.settings import Settings

Place = tuple[str, str]
EVERYWHERE: tuple[Place, ...] = (("*", "*"),)
_FOLDERS = (("metadata",), ("metadata", "propeller"), ("metadata", "catalog"), ("raw",))


class ObjectPlaces:
    """Finds the project and domain of an object in the store, by its URI. One instance per process."""

    def __init__(self, settings: Settings, blobs: Blobs) -> None:
        self._blobs = blobs
        self._domains = {component(domain.id): domain.id for domain in settings.domains}
        uploads = tuple(step for step in settings.server.data_proxy.upload.storage_prefix.split("/") if step)
        compiled = tuple(map(component, settings.flyteadmin.metadata_storage_prefix))
        self._folders = tuple(dict.fromkeys((*_FOLDERS, compiled, tuple(map(component, uploads)))))

    def of_uri(self, uri: str) -> tuple[Place, ...]:
        """Return the places in all of which a caller needs a role for this object; EVERYWHERE for an unknown one.

        A store may decode the location before it uses it, so the places of the decoded one count too.
        """
        texts = {uri, unquote(uri)}
        found: set[Place] = set()
        for text in texts:
            if not self._blobs.contains(text):
                return EVERYWHERE
            places = self._of_key(self._blobs.key(text))
            if not places:
                return EVERYWHERE
            found |= places
        return tuple(sorted(found))

    def _of_key(self, key: str) -> set[Place]:
        parts = tuple(key.split("/"))
        if any(part in ("", ".", "..") for part in parts):
            return set()
        found: set[Place] = set()
        for folder in self._folders:
            start = len(folder)
            # The last part is the object itself, so a place has at least one part behind it.
            if parts[:start] == folder and len(parts) > start + 2 and parts[start + 1] in self._domains:
                found.add((parts[start], self._domains[parts[start + 1]]))
        return found
