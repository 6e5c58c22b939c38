"""GPUs that are not there: the series a worker on a GPU would have, and no others, so that their queries run as well."""

import http.server
import json
import math
import threading
import time


class PretendedGpus:
    """Pages /NAME of a pretended GPU for the worker of that name."""

    def __init__(self, discovery):
        self.discovery, self.begin = discovery, time.time()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = outer.series(self.path).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def attend(self, workers):
        """A GPU for each worker, in the form of Prometheus' file discovery."""
        entries = [
            {"targets": [self.address], "labels": {**worker["labels"], "__metrics_path__": f"/{worker['labels']['worker']}"}}
            for worker in workers
        ]
        # Renamed, as Prometheus may look at any moment.
        coming = self.discovery.with_suffix(".tmp")
        coming.write_text(json.dumps(entries))
        coming.rename(self.discovery)

    def series(self, name):
        age = time.time() - self.begin
        busy = 0.86 + 0.1 * math.sin(age / 7 + sum(name.encode()))
        lines = [
            ("gpu_utilization_ratio", "gauge", [("", busy)]),
            ("gpu_memory_bytes", "gauge", [('{kind="used"}', 52e9 + 2e9 * busy), ('{kind="total"}', 85e9)]),
            ("gpu_power_watts", "gauge", [("", 120 + 260 * busy)]),
            ("gpu_energy_joules_total", "counter", [("", 340 * age)]),
            ("gpu_throttled", "gauge", [(f'{{reason="{reason}"}}', int(reason == "power" and busy > 0.9)) for reason in ("power", "thermal", "hardware")]),
        ]
        text = ""
        for metric, kind, found in lines:
            text += f"# HELP anofpdm_{metric} Pretended.\n# TYPE anofpdm_{metric} {kind}\n"
            text += "".join(f"anofpdm_{metric}{labels} {value:.9g}\n" for labels, value in found)
        return text
