// Package browser tests rooms over HTTP with a real browser: Chromium, without a
// window, opens the page of roomhttp, pages of other origins and the port of a room. It
// holds tests only.
package browser
