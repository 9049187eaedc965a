"""Answers what a version was made from and where it is live, and writes cards and bills from it."""

import re
from typing import Any, Literal

from sqlalchemy import select

from treadle.evaluation.model import Verdict
from treadle.evaluation.service import Evaluation
from treadle.kernel.entity import Entity, to_text
from treadle.kernel.errors import Invalid, NotFound
from treadle.kernel.names import VersionRef
from treadle.kernel.operation import query
from treadle.kernel.sight import is_limited
from treadle.kernel.stage import PROJECTS_OF_CONTENT, Assembly
from treadle.ports.blobs import Blobs
from treadle.ports.database import Database
from treadle.registry import bom, card
from treadle.registry.facts import Facts, Input
from treadle.registry.hooks import DEPLOYED_AT
from treadle.registry.model import ModelVersion
from treadle.registry.service import Registry
from treadle.registry.signatures import package_bytes, signature_of
from treadle.registry.tables import versions
from treadle.scope.model import ProjectSpec
from treadle.scope.service import Scope
from treadle.tracking.environment import CODE
from treadle.tracking.local import DatasetReader, LocalTracking

SHORTEST = 6
"""The fewest characters of a digest that name it."""


class Descendant(Entity):
    """A version whose run has read a dataset.

    Attributes:
        version: The version's reference, `MODEL:NUMBER`.
        run: The run that made it.
        dataset: The dataset's name, as the run recorded it.
        digest: The digest of the dataset's version.
        endpoints: Where the version is live, or on its way, now.
        deleted: Whether the version was deleted.
    """

    version: str
    run: str
    dataset: str
    digest: str
    endpoints: list[str]
    deleted: bool


class Lineage:
    """Traces versions back to their data and code and forward to endpoints.

    Args:
        database: The home's records.
        blobs: The home's stored contents.
        scope: The declared projects.
        tracking: The runs that versions come from.
        evaluation: The verdicts on versions.
        registry: The registered versions.
        assembly: Knows which stages can say where versions are deployed.
    """

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        scope: Scope,
        tracking: LocalTracking,
        evaluation: Evaluation,
        registry: Registry,
        assembly: Assembly,
    ) -> None:
        self._database, self._blobs, self._scope = database, blobs, scope
        self._tracking, self._evaluation = tracking, evaluation
        self._registry, self._assembly = registry, assembly

    @query()
    def seen(self, *, data: str) -> list[Descendant]:
        """List the versions that were trained on a dataset version; deployed ones come first.

        Args:
            data: The digest of the dataset version, or the first characters of it, at least 6.

        Raises:
            Invalid: The text is no digest, or several datasets' digests begin with it.
            NotFound: No run has read such a dataset.
        """
        if not re.fullmatch(r"[\w.:-]+", data) or len(data) < SHORTEST:
            raise Invalid(
                f"'{data[:80]}' is no digest of a dataset. "
                f"Give at least {SHORTEST} of its characters."
            )
        readers = self._tracking.readers(digest=data)
        digests = sorted({reader.digest for reader in readers})
        if not digests:
            raise NotFound(f"No run has read a dataset whose digest begins with '{data}'.")
        if len(digests) > 1 and data not in digests:
            several = ", ".join(digests[:5])
            raise Invalid(f"'{data}' begins {len(digests)} datasets: {several}. Give more of it.")
        by_run: dict[str, list[DatasetReader]] = {}
        for reader in readers:
            by_run.setdefault(reader.run, []).append(reader)
        columns = versions.c.model, versions.c.number, versions.c.deleted_at, versions.c.run
        made = select(*columns).where(versions.c.run != "")
        with self._database.read() as connection:
            rows = connection.execute(made.order_by(versions.c.model, versions.c.number)).all()
        endpoints = self._deployed()
        descendants = [
            Descendant(
                version=f"{row.model}:{row.number}",
                run=row.run,
                dataset=reader.name,
                digest=reader.digest,
                endpoints=endpoints.get((row.model, row.number), []),
                deleted=row.deleted_at is not None,
            )
            for row in rows
            for reader in by_run.get(row.run, [])
        ]
        return sorted(descendants, key=lambda descendant: not descendant.endpoints)

    @query()
    def of(self, *, version: VersionRef) -> Facts:
        """Show all that is known of a version: code, data, run, verdict, approval, endpoints.

        Args:
            version: The version, as `MODEL:NUMBER` or `MODEL@ALIAS`.

        Raises:
            Invalid: The text names no version.
            NotFound: There is no such version.
        """
        resolved = self._registry.resolve(ref=version)
        model = self._registry.model(name=resolved.model)
        spec = self._spec(resolved.project)
        run_is_here = bool(resolved.run and self._tracking.known([resolved.run]))
        return Facts(
            version=resolved,
            description=model.description or resolved.description,
            about=spec.project if spec else None,
            requirements=spec.requirement if spec else [],
            run=self._tracking.get(run=resolved.run) if run_is_here else None,
            code=self._code(resolved.run) if run_is_here else None,
            environment=self._tracking.environment(run=resolved.run) if run_is_here else None,
            data=self._data(resolved.run, spec) if run_is_here else [],
            verdict=self._verdict(resolved),
            approved=self._registry.verify_approval(model=resolved.model, number=resolved.number),
            signature=signature_of(self._blobs, resolved.package),
            endpoints=self._deployed().get((resolved.model, resolved.number), []),
            package_bytes=package_bytes(self._blobs, resolved.package),
        )

    @query()
    def card(self, *, version: VersionRef, format: Literal["md", "html", "json"] = "md") -> str:
        """Write a version's model card from what is known of it.

        Args:
            version: The version, as `MODEL:NUMBER` or `MODEL@ALIAS`.
            format: `md` for Markdown with Hugging Face's front matter, `html` for a page, `json`
                for the facts themselves.

        Raises:
            Invalid: The text names no version.
            NotFound: There is no such version.
        """
        facts = self.of(version=version)
        if format == "json":
            return to_text(facts)
        return card.html(facts) if format == "html" else card.markdown(facts)

    @query()
    def bom(self, *, version: VersionRef) -> dict[str, Any]:
        """Write a version's bill of materials: model card, data and packages, as CycloneDX 1.6.

        Args:
            version: The version, as `MODEL:NUMBER` or `MODEL@ALIAS`.

        Raises:
            Invalid: The text names no version.
            NotFound: There is no such version.
        """
        return bom.cyclonedx(self.of(version=version))

    def _deployed(self) -> dict[tuple[str, int], list[str]]:
        """The endpoints of versions by model and number."""
        return {
            version: endpoints
            for answer in self._assembly.answers(DEPLOYED_AT)
            for version, endpoints in answer.method().items()
        }

    def _code(self, run: str) -> str | None:
        """The digest of a run's code, where it is kept."""
        digests = {file.path: file.digest for file in self._tracking.artifacts(run=run)}
        return digests.get(CODE)

    def _data(self, run: str, spec: ProjectSpec | None) -> list[Input]:
        datasets = self._tracking.datasets(run=run)
        project = self._tracking.get(run=run).project
        return [self._input(one.name, one.digest, project, spec) for one in datasets]

    def _input(self, name: str, digest: str, project: str, spec: ProjectSpec | None) -> Input:
        """A dataset version with what the inventory says, and whether its content is here."""
        kept = re.fullmatch(r"[0-9a-f]{64}", digest) is not None and self._blobs.has(digest)
        if kept and is_limited():  # what a run notes of its data is no way to ask for others'
            answers = self._assembly.answers(PROJECTS_OF_CONTENT)
            kept = any(project in answer.method(digest) for answer in answers)
        source = spec.data.get(name) if spec else None
        if source is None:
            return Input(name=name, digest=digest, kept=kept)
        declared = {field: getattr(source, field) for field in ("owner", "licence", "sensitivity")}
        return Input(name=name, digest=digest, kept=kept, label=source.label, **declared)

    def _spec(self, project: str) -> ProjectSpec | None:
        try:
            return self._scope.project(name=project).spec
        except NotFound:
            return None

    def _verdict(self, version: ModelVersion) -> Verdict | None:
        return self._evaluation.get(verdict=version.verdict) if version.verdict else None
