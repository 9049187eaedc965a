"""Where a version comes from and where it went, in both directions; and what is written from these facts: cards and bills of materials."""

import re
from typing import Any, Literal

from sqlalchemy import select

from treadle.evaluation.model import Verdict
from treadle.evaluation.service import Evaluation
from treadle.kernel.entity import Entity, from_json, to_text
from treadle.kernel.errors import Invalid, NotFound
from treadle.kernel.names import VersionRef
from treadle.kernel.operation import query
from treadle.kernel.stage import Assembly
from treadle.ports.blobs import Blobs
from treadle.ports.database import Database
from treadle.ports.runtime import SIGNATURE, Signature
from treadle.ports.tree import read_tree
from treadle.registry import bom, card
from treadle.registry.facts import Facts, Input
from treadle.registry.hooks import DEPLOYED_AT
from treadle.registry.model import ModelVersion
from treadle.registry.service import Registry
from treadle.registry.tables import versions
from treadle.scope.model import ProjectSpec
from treadle.scope.service import Scope
from treadle.tracking.environment import CODE
from treadle.tracking.local import LocalTracking
from treadle.tracking.tables import run_datasets, runs

SHORTEST, WHOLE = 6, 64
"""Characters of a digest that name it, and those of a whole one of ours."""


class Descendant(Entity):
    """A version whose run read some data. ``endpoints`` are where it is live, or on its way, now."""

    version: str
    run: str
    dataset: str
    digest: str
    endpoints: list[str]
    deleted: bool


class Lineage:
    """Where versions come from and where they went; cards and bills of materials."""

    def _deployed(self) -> dict[tuple[str, int], list[str]]:
        """The endpoints of versions by model and number."""
        return {
            version: endpoints
            for asked in self._assembly.answers(DEPLOYED_AT)
            for version, endpoints in asked.method().items()
        }

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
        self._tracking, self._evaluation, self._registry = tracking, evaluation, registry
        self._assembly = assembly

    @query()
    def seen(self, *, data: str) -> list[Descendant]:
        """Which versions saw a dataset version, named by its digest or the beginning of it; those that are deployed come first."""
        if not re.fullmatch(r"[\w.:-]+", data) or len(data) < SHORTEST:
            raise Invalid(
                f"'{data[:80]}' is no digest of a dataset. Give at least {SHORTEST} of its characters."
            )
        digest = run_datasets.c.digest
        within = digest == data if len(data) == WHOLE else digest.startswith(data, autoescape=True)
        columns = (
            versions.c.model,
            versions.c.number,
            versions.c.deleted_at,
            runs.c.id,
            run_datasets.c.name,
        )
        wanted = (
            select(*columns, run_datasets.c.digest)
            .join(runs, runs.c.number == run_datasets.c.run)
            .join(versions, versions.c.run == runs.c.id)
            .where(within)
            .order_by(versions.c.model, versions.c.number)
        )
        with self._database.read() as connection:
            digests = set(connection.scalars(select(digest).where(within).distinct().limit(6)))
            rows = connection.execute(wanted).all()
        if not digests:
            raise NotFound(f"No run has read a dataset whose digest begins with '{data}'.")
        if len(digests) > 1 and data not in digests:
            raise Invalid(
                f"'{data}' begins {len(digests)} datasets: {', '.join(sorted(digests)[:5])}. Give more of it."
            )
        places = self._deployed()
        found = [
            Descendant(
                version=f"{row.model}:{row.number}",
                run=row.id,
                dataset=row.name,
                digest=row.digest,
                endpoints=places.get((row.model, row.number), []),
                deleted=row.deleted_at is not None,
            )
            for row in rows
        ]
        return sorted(found, key=lambda one: not one.endpoints)

    @query()
    def of(self, *, version: VersionRef) -> Facts:
        """All that is known of how a version came about: code, data, run, verdict, approval; and where it is live."""
        found = self._registry.resolve(ref=version)
        spec, known = (
            self._spec(found.project),
            bool(found.run and self._tracking.known([found.run])),
        )
        run = self._tracking.get(run=found.run) if known else None
        kept = (
            {file.path: file.digest for file in self._tracking.artifacts(run=found.run)}
            if known
            else {}
        )
        return Facts(
            version=found,
            description=self._registry.model(name=found.model).description or found.description,
            about=spec.project if spec else None,
            requirements=spec.requirement if spec else [],
            run=run,
            code=kept.get(CODE),
            environment=self._tracking.environment(run=found.run) if known else None,
            data=[
                self._input(one.name, one.digest, spec)
                for one in self._tracking.datasets(run=found.run)
            ]
            if known
            else [],
            verdict=self._verdict(found),
            approved=self._registry.verify_approval(model=found.model, number=found.number),
            signature=self._signature(found),
            endpoints=self._deployed().get((found.model, found.number), []),
        )

    @query()
    def card(self, *, version: VersionRef, format: Literal["md", "html", "json"] = "md") -> str:
        """A version's model card, drawn from the facts: Markdown with Hugging Face's front matter, a page of HTML, or JSON."""
        facts = self.of(version=version)
        return (
            to_text(facts)
            if format == "json"
            else card.html(facts)
            if format == "html"
            else card.markdown(facts)
        )

    @query()
    def bom(self, *, version: VersionRef) -> dict[str, Any]:
        """A version's bill of materials as CycloneDX 1.6: the model with its card, its data, and the packages it was made with."""
        return bom.cyclonedx(self.of(version=version))

    def _input(self, name: str, digest: str, spec: ProjectSpec | None) -> Input:
        """Data with what the inventory says of it, and whether its content is here under that digest."""
        kept = re.fullmatch(r"[0-9a-f]{64}", digest) is not None and self._blobs.has(digest)
        source = spec.data.get(name) if spec else None
        if source is None:
            return Input(name=name, digest=digest, kept=kept)
        told = {field: getattr(source, field) for field in ("owner", "licence", "sensitivity")}
        return Input(name=name, digest=digest, kept=kept, label=source.label, **told)

    def _spec(self, project: str) -> ProjectSpec | None:
        try:
            return self._scope.project(name=project).spec
        except NotFound:
            return None

    def _verdict(self, version: ModelVersion) -> Verdict | None:
        return self._evaluation.get(verdict=version.verdict) if version.verdict else None

    def _signature(self, version: ModelVersion) -> Signature | None:
        """What the package says it takes and gives; none for a version that a client registered by its source."""
        if not version.package or not self._blobs.has(version.package):
            return None
        file = read_tree(self._blobs, version.package).files.get(SIGNATURE)
        return from_json(self._blobs.get(file.digest), Signature) if file else None
