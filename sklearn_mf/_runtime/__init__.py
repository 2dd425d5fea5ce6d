"""What compiled code asks of the machine: compilation, threads, registers, memory."""
