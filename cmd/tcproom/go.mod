module example.com/tcproom/cmd/tcproom

go 1.26.0

replace example.com/tcproom => ../..

require example.com/tcproom v0.0.0

require (
	github.com/HdrHistogram/hdrhistogram-go v1.4.0 // indirect
	github.com/stretchr/testify v1.12.1 // indirect
	go.yaml.in/yaml/v4 v4.0.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
)
