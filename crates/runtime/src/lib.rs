//! What any long-running process needs: logs, signals, TLS, HTTP serving, health, metrics.
