"""The dashboard and the alerts of contrib/ against what laminad exports."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

from daemon import DaemonTest
from memory_files import main
from serving import wait_until

CONTRIB = Path(__file__).resolve().parents[2] / "contrib"
DASHBOARD = CONTRIB / "grafana-dashboard.json"
ALERTS = CONTRIB / "prometheus-alerts.yml"
NAME = re.compile(r"\blaminad?_\w+")
# Exported for other uses than a picture over time.
# Of each VM: lamina ui and lamina top show them.
OF_VMS = {"lamina_vm_memory_bytes", "lamina_vm_filled_bytes_total",
          "lamina_vm_populated_bytes_total", "lamina_vm_slow_faults_total",
          "lamina_vm_fault_seconds", "lamina_vm_network_wait_seconds",
          "lamina_vm_network_waiting_faults"}
NOT_SHOWN = OF_VMS | {"lamina_supervisor_pid", "lamina_removes_total", "lamina_reread_events_total",
                      "lamina_resumptions_total", "lamina_vms_reacquired_total",
                      "lamina_sessions_started_total", "laminad_http_connections", "laminad_store_readable",
                      "laminad_store_figures_age_seconds", "laminad_forks_total", "laminad_removals_total",
                      "laminad_pause_places_total", "laminad_pause_stored_bytes_total",
                      "laminad_page_server_metrics_readable"}


class Monitoring(DaemonTest):
    """The names in contrib/ are names of metrics."""

    def exported(self) -> tuple[set[str], set[str]]:
        """The names of the samples, and of the metrics, of a daemon whose page server serves."""
        daemon = self.start()
        vm = self.fresh()
        self.paused(daemon, vm, "box")
        self.resumed(daemon, "box", mode="uffd")
        # The daemon leaves out what the page server does not tell within a second.
        text = wait_until(lambda: next((text for text in [daemon.request("GET", "/metrics").body]
                                        if "\nlamina_faults_total" in text), ""),
                          "the page server's metrics are there")
        samples = {re.split(r"[{ ]", line)[0] for line in text.splitlines() if not line.startswith("#")}
        metrics = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
        return samples, metrics

    def test_dashboard_and_alerts_use_metrics_that_exist(self) -> None:
        """Every name; and every metric is on the dashboard, or listed here as not shown."""
        samples, metrics = self.exported()
        dashboard = json.loads(DASHBOARD.read_text())
        shown = {name for panel in dashboard["panels"] for target in panel["targets"]
                 for name in NAME.findall(target["expr"])}
        alerted = {name for line in ALERTS.read_text().splitlines() if "expr:" in line
                   for name in NAME.findall(line)}
        self.assertGreater(len(alerted), 5)
        self.assertEqual((shown | alerted) - samples, set(), "names that laminad does not export")
        missing = {name for name in metrics
                   if not any(one.startswith(name) for one in shown)} - NOT_SHOWN
        self.assertEqual(missing, set(), "metrics that the dashboard does not show")
        self.assertEqual(NOT_SHOWN - metrics, set(), "not exported any more")
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
        self.assertEqual(len(places), len(set(places)), "panels in each other's place")
        ids = [panel["id"] for panel in dashboard["panels"]]
        self.assertEqual(len(ids), len(set(ids)))

    def test_expressions_are_promql(self) -> None:
        """promtool reads the alerts, and the dashboard's expressions as rules."""
        promtool = shutil.which("promtool")
        if promtool is None:
            print("skipped: promtool is not installed (package prometheus)")
            return
        dashboard = json.loads(DASHBOARD.read_text())
        rules = [{"record": f"panel:{panel['id']}:{target['refId'].lower()}",
                  "expr": target["expr"].replace("$__rate_interval", "5m")}
                 for panel in dashboard["panels"] for target in panel["targets"]]
        file = self.directory / "panels.json"  # JSON is YAML
        file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
        for path in (ALERTS, file):
            checked = subprocess.run([promtool, "check", "rules", str(path)], capture_output=True,
                                     text=True, check=False)
            self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)


if __name__ == "__main__":
    main()
