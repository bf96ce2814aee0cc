%% Echoes with the packet modes of gen_tcp. See interop_peer_test.go.
main([Host, Port, Mode, Count, Last]) ->
    Packet = case Mode of "line" -> line; _ -> list_to_integer(Mode) end,
    {ok, Socket} = gen_tcp:connect(Host, list_to_integer(Port),
        [binary, {active, false}, {packet, Packet}, {buffer, 1 bsl 18}, {nodelay, true}]),
    echo(Socket, Packet, list_to_integer(Count)),
    finish(Socket, Packet, list_to_integer(Last)).

echo(_, _, 0) -> ok;
echo(Socket, Packet, Count) ->
    {ok, Frame} = gen_tcp:recv(Socket, 0),
    Body = body(Packet, Frame),
    ok = file:write(standard_io, [binary:encode_hex(Body), "\n"]),
    ok = gen_tcp:send(Socket, frame(Packet, Body)),
    echo(Socket, Packet, Count - 1).

finish(Socket, _, 0) -> ok = gen_tcp:close(Socket);
finish(Socket, Packet, Last) ->
    %% The room may close while this is being sent.
    _ = gen_tcp:send(Socket, frame(Packet, binary:copy(<<"x">>, Last))),
    {error, _} = gen_tcp:recv(Socket, 0).

%% In line mode the line's end is the program's.
body(line, Frame) -> binary:part(Frame, 0, byte_size(Frame) - 1);
body(_, Frame) -> Frame.

frame(line, Body) -> [Body, "\n"];
frame(_, Body) -> Body.
