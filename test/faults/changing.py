"""Processes that act on each other, or become something else, while they are dumped."""
from hostile import Hostile


class Changing(Hostile):
    # --- processes that act on each other

    def meddlers(self, name, sample=4, **more):
        self.restless(name, victim="meddlers", sample=sample, **more)

    def do_stops(self):
        """A stop that waits, has come to one thread only, or is over already, is neither lost nor made to last."""
        self.meddlers("stops", sample=12)

    def do_stops_of_threads(self):
        self.meddlers("stops-threads", sample=12)

    def do_kills(self):
        self.meddlers("kills")

    def do_orphans(self):
        self.meddlers("orphans")

    def do_siblings(self):
        self.meddlers("siblings")

    def do_groups(self):
        self.meddlers("groups")

    # --- processes that become something else

    def changelings(self, name, sample=4, **more):
        self.restless(name, victim="changelings", sample=sample, **more)

    def do_heirs(self):
        """Nobody is overlooked, although procfs may show nobody while another thread takes over the number of a process."""
        self.changelings("heirs", sample=12)

    def do_chains(self):
        self.changelings("chains")

    def do_exits(self):
        self.changelings("exits")

    def do_set_users(self):
        self.changelings("set-users")

    def do_shares(self):
        self.changelings("shares", excuses=("shared with",))

    def do_confines(self):
        self.changelings("confines", excuses=("seccomp",))
