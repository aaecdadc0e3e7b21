"""An ACA-Py agent that ends with the test: it runs until its standard input is closed."""

import os
import sys
import threading

from acapy_agent.__main__ import main


def end_with_the_test():
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=end_with_the_test, daemon=True).start()
main(["aca-py", "start", *sys.argv[1:]])
