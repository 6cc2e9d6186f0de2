"""The timing models against silicon: programs that ran on boards, run again on the emulator."""
