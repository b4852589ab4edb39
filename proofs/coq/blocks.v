(* Disjoint nuisance blocks. Where F(S, A, B) = f(S, A) + g(S, B), minimising
   over A and B first gives the reduced problem phi(S) + psi(S), with no
   convexity. Values agree for every S, and S minimises the reduced problem
   exactly when S, with inner minimisers, minimises F. Infima that are not
   attained add up too; only minimisers need the inner minima to be attained. *)
From mathcomp Require Import all_ssreflect all_algebra.
From unigrn Require Import frame.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Blocks.
Variables (R : realFieldType) (TS TA TB : Type) (C : TS -> Prop).
Variables (f : TS -> TA -> R) (g : TS -> TB -> R).

Definition joint (u : TS * TA * TB) : R := f u.1.1 u.1.2 + g u.1.1 u.2.

Section Attained.
Variables (phi psi : TS -> R).
Hypothesis phi_min : forall S, C S -> is_min (f S) (phi S).
Hypothesis psi_min : forall S, C S -> is_min (g S) (psi S).

Theorem blocks_min S : C S ->
  is_min (fun u : TA * TB => joint (S, u.1, u.2)) (phi S + psi S).
Proof.
move=> CS; have [[a ea] ha] := phi_min CS; have [[b eb] hb] := psi_min CS.
split; first by exists (a, b); rewrite /joint /= ea eb.
by move=> [a' b'] /=; apply: ler_add.
Qed.

Theorem partial_minimisation S A B :
  argmin (fun u => C u.1.1) joint (S, A, B) <->
  argmin C (fun S' => phi S' + psi S') S /\ f S A = phi S /\ g S B = psi S.
Proof.
split=> [[/= CS h]|[[CS h] [ea eb]]].
- have [[a ea] ha] := phi_min CS; have [[b eb] hb] := psi_min CS.
  have eA : f S A = phi S.
    apply/eqP; rewrite eq_le ha andbT.
    by have := h (S, a, B) CS; rewrite /joint /= ea ler_add2r.
  have eB : g S B = psi S.
    apply/eqP; rewrite eq_le hb andbT.
    by have := h (S, A, b) CS; rewrite /joint /= eb ler_add2l.
  split=> //; split=> // S' CS'.
  have [[a' ea'] _] := phi_min CS'; have [[b' eb'] _] := psi_min CS'.
  by have := h (S', a', b') CS'; rewrite /joint /= ea' eb' eA eB.
- split=> //= -[[S' A'] B'] /= CS'; rewrite /joint /= ea eb.
  apply: le_trans (h _ CS') _; apply: ler_add.
    by have [_] := phi_min CS'.
  by have [_] := psi_min CS'.
Qed.

(* "some" and "any" inner minimisers are the same thing *)
Theorem partial_minimisation_some S :
  argmin C (fun S' => phi S' + psi S') S <->
  exists A B, argmin (fun u => C u.1.1) joint (S, A, B).
Proof.
split=> [h|[A [B /partial_minimisation[]]]] //.
have CS := h.1; have [[a ea] _] := phi_min CS; have [[b eb] _] := psi_min CS.
by exists a, b; apply/partial_minimisation.
Qed.

(* the maps: drop the nuisance blocks, put inner minimisers back *)
Theorem partial_equivalent (a : TS -> TA) (b : TS -> TB) :
  (forall S, C S -> f S (a S) = phi S) -> (forall S, C S -> g S (b S) = psi S) ->
  equivalent (fun u => C u.1.1) joint C (fun S => phi S + psi S)
             (fun u => u.1.1) (fun S => (S, a S, b S)).
Proof.
move=> ea eb; split=> [[[S A] B] //|[[S A] B] /= CS|//|S CS].
  by have [_ h] := blocks_min CS; apply: (h (A, B)).
by rewrite /joint /= ea ?eb.
Qed.

End Attained.

(* v is the infimum of f: the greatest lower bound *)
Definition is_inf (T : Type) (h : T -> R) (v : R) : Prop :=
  (forall x, v <= h x) /\ forall e, 0 < e -> exists x, h x < v + e.

Theorem blocks_inf S phi psi : is_inf (f S) phi -> is_inf (g S) psi ->
  is_inf (fun u : TA * TB => joint (S, u.1, u.2)) (phi + psi).
Proof.
move=> [lf af] [lg ag]; split=> [[a b]|e e0]; first exact: ler_add.
have e2 : 0 < e / 2%:R by rewrite divr_gt0 ?ltr0n.
have [a ha] := af _ e2; have [b hb] := ag _ e2; exists (a, b).
have -> : phi + psi + e = (phi + e / 2%:R) + (psi + e / 2%:R).
  by rewrite addrACA -splitr.
exact: ltr_add.
Qed.

End Blocks.

(* One nuisance block, on any feasible set of pairs. *)
Section One.
Variables (R : realFieldType) (TS TA : Type) (C : TS -> Prop).
Variables (f : TS -> TA -> R) (phi : TS -> R).
Hypothesis phi_min : forall S, C S -> is_min (f S) (phi S).

Theorem eliminate S A :
  argmin (fun u => C u.1) (fun u => f u.1 u.2) (S, A) <->
  argmin C phi S /\ f S A = phi S.
Proof.
split=> [[/= CS h]|[[CS h] e]].
- have [[a ea] ha] := phi_min CS.
  have eA : f S A = phi S.
    by apply/eqP; rewrite eq_le ha andbT -ea; apply: (h (S, a)).
  split=> //; split=> // S' CS'; have [[a' ea'] _] := phi_min CS'.
  by have := h (S', a') CS'; rewrite /= ea' eA.
- split=> //= -[S' A'] /= CS'; rewrite e; apply: le_trans (h _ CS') _.
  by have [_] := phi_min CS'.
Qed.

End One.
