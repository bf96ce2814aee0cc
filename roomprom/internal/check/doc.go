// Package check has the tests of roomprom's dashboard and alerting rules. They use
// Prometheus's own parsers, and are a module of their own to keep these out of
// roomprom's.
package check
