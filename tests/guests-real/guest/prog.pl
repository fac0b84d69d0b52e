# Hashes, regular expressions, sorting, formats, closures.
use strict;
use warnings;
my (%h, $text);
for my $i (0 .. 60000) {
    my $w = sprintf "w%x", $i * 40503 % 9973;
    $h{$w}++;
}
$text = join ",", map { "$_=$h{$_}" } sort keys %h;
my $n = () = $text =~ /w[0-9a]+=/g;
my $sum = unpack "%32C*", $text;
print length($text), " $n $sum\n";
my @subs = map { my $k = $_; sub { $k * $_[0] } } 1 .. 100;
my $t = 0;
$t += $subs[ $_ % 100 ]->($_) for 0 .. 50000;
printf "%d %.6f\n", $t, atan2(1, 1) * 4;
eval { die { code => 42 } };
print "caught $@->{code}\n";
(my $r = $text) =~ s/(\d+)/$1+1/ge;
print length($r), " ", unpack("%32C*", $r), "\n";
