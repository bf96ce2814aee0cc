module example.com/tcproom/cmd/tcproom

go 1.26.0

replace example.com/tcproom => ../..

require example.com/tcproom v0.0.0
