module example.com/tcproom/roomnats

go 1.26.0

require (
	example.com/tcproom v0.0.0
	github.com/nats-io/nats.go v1.55.0
	github.com/stretchr/testify v1.12.1
)

replace example.com/tcproom => ..
