"""What one measurement gave."""

from dataclasses import dataclass, field


@dataclass
class Sample:
    """One measurement of ours; None for what a row does not have."""

    rate: float | None = None
    seconds: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    longest_ms: float | None = None
    created: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    cores: dict[str, float] = field(default_factory=dict)
    generator: float | None = None
    memory_mb: float | None = None
    idle_percent: float | None = None
