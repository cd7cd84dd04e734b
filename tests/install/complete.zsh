# Prints what zsh offers for a line: zsh -f complete.zsh FUNCTIONS LINE. A shell on a terminal of its
# own is typed to: the line and a tab; what its completion adds to its matches is printed.
zmodload zsh/zpty
read_until() {  # TEXT: prints what is offered up to there
  local line
  while zpty -r shell line; do
    [[ $line == *$1* ]] && return
    [[ $line == *OFFERED:* ]] && print -r -- ${${line##*OFFERED:}%%$'\r'*}
  done
}
zpty shell zsh -f -i
zpty -w shell 'compadd() { local -a hits; builtin compadd -O hits "$@"; print -l -- "" OFFERED:$^hits; builtin compadd "$@" }'
zpty -w shell "fpath=(${(q)1} \$fpath); autoload -Uz compinit; compinit -u -D; PROMPT=; print READ''Y"
read_until READY
zpty -w shell "print READ''Y"  # from here on it is the line editor that reads
read_until READY
zpty -w -n shell "$2"$'\t\x15'  # then the line is taken back
zpty -w shell "print READ''Y"
read_until READY
zpty -d shell
