// Pins the Prometheus operator, whose definitions of PodMonitors and PrometheusRules the tests use.
module drayage.dev/tests/operator

go 1.24.0

require github.com/prometheus-operator/prometheus-operator v0.85.0
