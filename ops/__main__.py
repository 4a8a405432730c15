"""`tenfold`, and `python -m ops`: the command line, which takes a moment to be imported."""

import signal

# Until the command line can say something itself, Ctrl-C ends us without a traceback.
if _was_heard := signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def main() -> None:
    from typer.main import get_command

    from ops.cli import app

    command = get_command(app)
    if _was_heard:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command(prog_name="tenfold")


if __name__ == "__main__":
    main()
