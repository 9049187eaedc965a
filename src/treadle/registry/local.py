"""The registry as the process has it that holds the database."""

from sqlalchemy import select

from treadle.registry.model import CHAMPION, ModelVersion
from treadle.registry.service import Registry
from treadle.registry.tables import approvals, versions


class LocalRegistry(Registry):
    """Models and their versions; with what only this process offers."""

    def make_champion(self, *, model: str, number: int) -> ModelVersion:
        """Point the alias ``champion`` at a version that is live.

        Delivery has asked for its approval already, and a version that was live before comes back
        whatever is declared by now.

        Args:
            model: Name of the model.
            number: Number of the version.

        Raises:
            NotFound: There is no such version.
        """
        return self._point(self.get(model=model, number=number), CHAMPION)

    def approval_fault(self, version: ModelVersion) -> str:
        """Tell why a version's approval is not believed.

        Args:
            version: The version.

        Returns:
            Sentences; empty where the approval is believed, or there is none.
        """
        return "" if version.approval is None else self._fault(version, version.approval)

    def approved_from(self, *, run: str, logged_model: str) -> str | None:
        """An approved version whose files are those of a run or a logged model.

        Args:
            run: Id of the run; used where no logged model is given.
            logged_model: Id of the logged model; empty for the run's files.

        Returns:
            The version as NAME:NUMBER, or None where no version of them is approved.
        """
        same = (versions.c.model == approvals.c.model) & (versions.c.number == approvals.c.number)
        wanted = (
            select(versions.c.model, versions.c.number)
            .join(approvals, same)
            .where(versions.c.deleted_at.is_(None))
        )
        theirs = versions.c.logged_model == logged_model if logged_model else versions.c.run == run
        sourced = versions.c.source != ""
        with self._database.read() as connection:
            found = connection.execute(wanted.where(theirs, sourced).limit(1)).one_or_none()
        return None if found is None else f"{found.model}:{found.number}"
