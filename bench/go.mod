module example.com/tcproom/bench

go 1.26.0

require example.com/tcproom v0.0.0

replace example.com/tcproom => ../
