"""The `postroom` command line."""

import sys


def main() -> None:
    """Run `postroom`. Exits 0 only on success, 1 with one sentence on stderr on failure, 2 on wrong use."""
    from postroom.commands.calling import as_called
    from postroom.commands.failures import sentence_for
    from postroom.commands.line import app
    from postroom.commands.output import on_terminal

    try:
        app(prog_name="postroom")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:  # people see a sentence; what has none is a defect and keeps its traceback
        refusal = sentence_for(error)
        if refusal is None:
            raise
        print("\n".join(map(on_terminal, as_called(refusal.sentence).split("\n"))), file=sys.stderr)
        sys.exit(refusal.exit_code)
