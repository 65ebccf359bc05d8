"""The parts of the completion scripts that do not depend on the verbs; ``@TABLE@`` stands for those that do.

Both ask ``xm list`` for the names of domains. Its rows end in numbers, and so may names: a row with six letters of state
has three numbers before them, a row of a halted domain two numbers and a time.
"""

from __future__ import annotations

_SHARED = r"""
@TABLE@

# Sets kind to the second half of that item of "$2" whose first half is "$1"; fails where there is none.
_xmcompat_kind() {
    local list=" $2 "
    case "$list" in
    *" $1:"*) kind="${list#* "$1":}" kind="${kind%% *}" ;;
    *) return 1 ;;
    esac
}

# Sets the row of program "$1" and verb "$2", which may be shortened as xm allows.
_xmcompat_verb() {
    _xmcompat_row "$1 $2" && return
    local found='' name
    [ "$1" = xm ] && [ "${#2}" -ge 2 ] || return 1
    _xmcompat_row xm
    while [ -n "$verbs" ]; do
        name="${verbs%% *}"
        case "$verbs" in *' '*) verbs="${verbs#* }" ;; *) verbs='' ;; esac
        case "$name" in "$2"*) found="$found $name" ;; esac
    done
    case "${found# }" in '' | *' '*) return 1 ;; esac
    _xmcompat_row "xm ${found# }"
}
"""

_ROWS = r"""
    local running='^(.*[^ ]) +[0-9]+ +[0-9]+ +[0-9]+ +[-rbpscd]{6} +[0-9]+\.[0-9]$'
    local halted='^(.*[^ ]) +[0-9]+ +[0-9]+ +[0-9]+\.[0-9]$'
    local pool='^(.*[^ ]) +[0-9]+ +[a-z0-9]+ +[yn] +[0-9]+$'
"""

BASH = (
    r"""# Completion of xm and xmcompat for bash; made by: xmcompat completion bash
"""
    + _SHARED
    + r"""
# Sets words as they were typed, though bash splits them at "=" and ":"; cur is the last, ahead what bash leaves of it.
_xmcompat_words() {
    local rest="$COMP_LINE" before="${COMP_LINE:0:COMP_POINT}" i last=-1
    words=()
    for ((i = 0; i <= COMP_CWORD; i++)); do
        if [[ -z ${COMP_WORDS[i]} ]]; then
            [[ $before == *[=:] ]] || last=$((last + 1))
            words[last]+=''
        elif ((i > 0)) && [[ -n $rest && ${rest:0:1} != [[:blank:]] ]]; then
            words[last]+="${COMP_WORDS[i]}"
        else
            last=$((last + 1))
            words[last]="${COMP_WORDS[i]}"
        fi
        rest="${rest#"${rest%%[![:blank:]]*}"}"
        rest="${rest#"${COMP_WORDS[i]}"}"
    done
    cur="${words[last]}" ahead=''
    local piece="${COMP_WORDS[COMP_CWORD]}"
    case "$piece" in *[!:=]*) ;; *) piece='' ;; esac
    ahead="${cur%"$piece"}"
}

# Offers "$3$1" where it begins as typed; "$2" is what was typed behind "$3".
_xmcompat_offer() {
    if [[ $1 == "$2"* ]]; then
        COMPREPLY+=("$3$1")
    fi
}

# Offers the name "$1" of a domain or pool, quoted. Within quotes only plain names can be offered.
_xmcompat_name() {
    local quoted plain='^[A-Za-z0-9_.:@%+/-]+$'
    printf -v quoted %q "$1"
    case "$2" in
    [\'\"]*) if [[ $1 =~ $plain ]]; then _xmcompat_offer "$1" "${2:1}" "$3"; fi ;;
    *) _xmcompat_offer "$quoted" "$2" "$3" ;;
    esac
}

# Offers the names in the first column of what xm prints.
_xmcompat_names() {
    local line kind="$1" typed="$2" before="$3"
"""
    + _ROWS
    + r"""    while IFS= read -r line; do
        if [[ $kind == domain && ($line =~ $running || $line =~ $halted) || $kind == pool && $line =~ $pool ]]; then
            _xmcompat_name "${BASH_REMATCH[1]}" "$typed" "$before"
        fi
    done < <(if [[ $kind == pool ]]; then set -- cpupool-list; else set -- list; fi
        timeout 5 xm "$@" </dev/null 2>/dev/null)
}

# Offers files as bash does, and those of /etc/xen by their bare names.
_xmcompat_files() {
    local path bare
    compopt -o filenames 2>/dev/null
    IFS= read -r bare <<<"$2"
    while IFS= read -r path; do
        COMPREPLY+=("$3$path")
    done < <(compgen -f -- "$bare" 2>/dev/null)
    [[ $1 == config && $bare != */* ]] || return 0
    for path in /etc/xen/*; do
        if [[ -f $path && ${path##*/} != xend-* && $path != *.xml ]]; then
            _xmcompat_offer "${path##*/}" "$bare" "$3"
        fi
    done
}

# Offers what a word of the kind "$1" can be; "$2" was typed of it, behind "$3".
_xmcompat_values() {
    local word
    case "$1" in
    domain | pool) _xmcompat_names "$@" ;;
    config | file) _xmcompat_files "$@" ;;
    -) ;;
    *) for word in ${1//|/ }; do _xmcompat_offer "$word" "$2" "$3"; done ;;
    esac
}

# Sets place to the kind of the word that is typed, from the words before it.
_xmcompat_place() {
    local i word count=0
    place='' operands=0
    for ((i = 2; i < ${#words[@]} - 1; i++)); do
        word="${words[i]}"
        if _xmcompat_kind "$word" "$valued"; then
            ((i + 1 == ${#words[@]} - 1)) && place="$kind"
            i=$((i + 1))
        elif [[ $word != -* ]] && ! _xmcompat_kind "${word%%=*}" "$keys"; then
            operands=$((operands + 1))
        fi
    done
    [[ -z $place ]] || return 0
    for word in $places; do
        if ((count == operands)); then place="$word"; fi
        count=$((count + 1))
    done
    if [[ -z $place && -n $repeats ]]; then place="${places##* }"; fi
}

_xmcompat() {
    local IFS=$' \t\n' flags valued places repeats keys verbs kind words cur ahead program word place operands
    COMPREPLY=()
    _xmcompat_words
    program="${words[0]##*/}"
    if ((${#words[@]} < 3)); then
        _xmcompat_row "$program" || return 0
        for word in $verbs; do _xmcompat_offer "$word" "$cur" ''; done
        return 0
    fi
    _xmcompat_verb "$program" "${words[1]}" || return 0
    _xmcompat_place
    if [[ $cur == --*=* ]] && _xmcompat_kind "${cur%%=*}" "$valued"; then
        _xmcompat_values "$kind" "${cur#*=}" "${cur%%=*}="
    elif [[ $cur == *=* ]] && _xmcompat_kind "${cur%%=*}" "$keys"; then
        _xmcompat_values "$kind" "${cur#*=}" "${cur%%=*}="
    elif [[ $cur == -* ]]; then
        for word in $flags; do _xmcompat_offer "$word" "$cur" ''; done
    else
        [[ -z $place ]] || _xmcompat_values "$place" "$cur" ''
        if ((operands > 0)) || [[ -z $places ]]; then
            for word in $keys; do _xmcompat_offer "${word%%:*}=" "$cur" ''; done
        fi
    fi
    case "${COMPREPLY[*]}" in *=) compopt -o nospace 2>/dev/null ;; esac
    for word in "${!COMPREPLY[@]}"; do
        COMPREPLY[word]="${COMPREPLY[word]#"$ahead"}"
    done
}

complete -F _xmcompat xm xmcompat
"""
)

ZSH = (
    r"""#compdef xm xmcompat
# Completion of xm and xmcompat for zsh; made by: xmcompat completion zsh
"""
    + _SHARED
    + r"""
# Offers the names in the first column of what xm prints; zsh quotes them.
_xmcompat_names() {
    local line kind=$1 asked=list
    local -a names match
"""
    + _ROWS
    + r"""    [[ $kind == pool ]] && asked=cpupool-list
    while IFS= read -r line; do
        if [[ $kind == domain && ($line =~ $running || $line =~ $halted) ]] || [[ $kind == pool && $line =~ $pool ]]; then
            names+=("${match[1]}")
        fi
    done < <(timeout 5 xm $asked </dev/null 2>/dev/null)
    (( ${#names} )) && compadd -a names
}

# Offers what a word of the kind "$1" can be.
_xmcompat_values() {
    local -a choices
    case $1 in
    domain | pool) _xmcompat_names $1 ;;
    config)
        choices=(/etc/xen/*(N.:t))
        choices=(${choices:#(xend-*|*.xml)})
        (( ${#choices} )) && compadd -a choices
        _files
        ;;
    file) _files ;;
    -) ;;
    *) choices=(${(s:|:)1}); compadd -a choices ;;
    esac
}

# Sets place to the kind of the word that is typed, from the words before it.
_xmcompat_place() {
    local i word
    place='' operands=0
    for (( i = 3; i < CURRENT; i++ )); do
        word=${words[i]}
        if _xmcompat_kind $word $valued; then
            (( i + 1 == CURRENT )) && place=$kind
            (( i++ ))
        elif [[ $word != -* ]] && ! _xmcompat_kind ${word%%=*} $keys; then
            (( operands++ ))
        fi
    done
    [[ -z $place ]] || return 0
    local -a kinds=(${=places})
    place=${kinds[operands+1]}
    if [[ -z $place && -n $repeats ]]; then place=${kinds[-1]}; fi
    return 0
}

_xmcompat() {
    local flags valued places repeats keys verbs kind program place operands cur
    local -a choices
    program=${words[1]:t}
    if (( CURRENT < 3 )); then
        _xmcompat_row $program || return 1
        choices=(${=verbs})
        compadd -a choices
        return
    fi
    _xmcompat_verb $program ${words[2]} || return 1
    cur=${words[CURRENT]}
    _xmcompat_place
    if [[ $cur == --*=* ]] && _xmcompat_kind ${cur%%=*} $valued; then
        compset -P '*='
        _xmcompat_values $kind
    elif [[ $cur == *=* ]] && _xmcompat_kind ${cur%%=*} $keys; then
        compset -P '*='
        _xmcompat_values $kind
    elif [[ $cur == -* ]]; then
        choices=(${(M)${=flags}:#*=})
        (( ${#choices} )) && compadd -S '' -a choices
        choices=(${${=flags}:#*=})
        (( ${#choices} )) && compadd -a choices
    else
        [[ -z $place ]] || _xmcompat_values $place
        choices=(${${=keys}/:*/=})
        if (( ${#choices} )) && { (( operands > 0 )) || [[ -z $places ]] }; then compadd -S '' -a choices; fi
    fi
    return 0
}

# In zsh's function path this file is the function itself; sourced, it says what it is for.
if [[ ${funcstack[1]-} == _xm ]]; then
    _xmcompat "$@"
elif (( ${+functions[compdef]} )); then
    compdef _xmcompat xm xmcompat
fi
"""
)
