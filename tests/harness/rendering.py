"""Events as their readers get them."""

from __future__ import annotations

from api.formats.asked import StreamForm
from shared.job import Event, Served


def rendered(form: StreamForm, sequence: int, event: Event) -> bytes:
    """All bytes of one event."""
    assert not isinstance(event, Served)
    made = form.render(sequence, event)
    return made if isinstance(made, bytes) else b"".join(made)
