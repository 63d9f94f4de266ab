"""Start Chatbot WebUI: `uv run run.py --help` lists the options."""

import multiprocessing

if __name__ == '__main__':
    multiprocessing.freeze_support()
    from webui.cli import main

    raise SystemExit(main())
